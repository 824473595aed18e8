// What the processor can do. "Has" means that the processor has it and the kernel saves its registers.
// Any thread; async-signal-safe after the first call.

#ifndef OS_CPU_H
#define OS_CPU_H

#include <stdbool.h>

bool os_cpu_has_avx2(void);
bool os_cpu_has_avx512(void);  // F, BW, VL, DQ and VBMI2, all of them
const char *os_cpu_name(void); // never NULL

#endif
