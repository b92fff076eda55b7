/* Says hello, also to whoever is named. */
#include "snare.h"

int main(void)
{
    char name[64];
    system_call(ARGUMENTS, name, sizeof name);
    put("Hello, ");
    put(name[0] ? name : "world");
    put(", from ring 3.\n");
    return 0;
}
