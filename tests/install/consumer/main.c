/* A user's program: prints the version of the library that it runs with. */
#include <stdio.h>
#include <tricolor/tricolor.h>

int main(void)
{
    puts(tri_version());
    return 0;
}
