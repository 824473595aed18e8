// Addresses in the program, for people: what is written is what addr2line wants.
#include <criterion/criterion.h>

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "os/symbol.h"

__attribute__((noinline)) static void *here(void)
{
    return __builtin_return_address(0);
}

static void split(char *text, char **file, unsigned long *offset)
{
    char *plus = strrchr(text, '+');
    *file = strrchr(text, '(');
    cr_assert(plus && *file && plus > *file, "%s", text);
    *plus = 0;
    ++*file;
    cr_assert_eq(sscanf(plus + 1, "%lx)", offset), 1);
}

Test(symbol, names_the_file_and_the_offset_that_addr2line_finds_the_line_by)
{
    char text[512], command[1024], said[512] = "", expected[64], *file;
    unsigned long offset;
    int line = __LINE__ + 1;
    os_symbol_call(here(), text, sizeof text);
    split(text, &file, &offset);
    snprintf(command, sizeof command, "addr2line -e '%s' 0x%lx", file, offset);
    FILE *p = popen(command, "r");
    cr_assert(p && fgets(said, sizeof said, p), "no addr2line");
    pclose(p);
    snprintf(expected, sizeof expected, "symbol.c:%d", line);
    cr_assert(strstr(said, expected), "%s says %s, expected %s", command, said, expected);
}

Test(symbol, names_what_a_library_exports)
{
    char text[512];
    os_symbol(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), text, sizeof text);
    cr_assert(strncmp(text, "gnu_get_libc_version+0x0 (", 26) == 0 && strstr(text, "libc"), "%s",
              text);
}

Test(symbol, gives_the_bare_address_of_what_is_in_no_file)
{
    char text[64];
    os_symbol((void *)0x1234, text, sizeof text);
    cr_assert_str_eq(text, "0x1234");
}
