/* Exceptions in ring 0: the vector, the error code where there is one, and where EIP points. */
#include "selftest.h"

void f_divide(void), f_debug(void), f_breakpoint(void), f_overflow(void), f_bounds(void), f_undefined(void);
void f_no_fpu(void), f_absent(void), f_stack(void), f_outside_gdt(void), f_write_code(void), f_outside_idt(void);
void f_empty_gate(void), f_null_jump(void), f_user_code_jump(void);

static const struct {
    const char *name;
    void (*function)(void);
    u32 vector;
    int error; /* -1: this exception has none */
} faults[] = {
    {"#DE of DIV by zero", f_divide, DIVIDE, -1},
    {"#DB of a single step", f_debug, DEBUG, -1},
    {"#BP of INT3", f_breakpoint, BREAKPOINT, -1},
    {"#OF of INTO", f_overflow, OVERFLOW, -1},
    {"#BR of BOUND", f_bounds, BOUNDS, -1},
    {"#UD of UD2", f_undefined, UNDEFINED, -1},
    {"#NP of MOV GS", f_absent, NOT_PRESENT, ABSENT_DATA},
    {"#SS of MOV SS", f_stack, STACK_FAULT, ABSENT_DATA},
    {"#GP of MOV GS outside the GDT", f_outside_gdt, PROTECTION, 0xf8},
    {"#GP of MOV SS with code", f_write_code, PROTECTION, KERNEL_CODE},
    {"#GP of INT n outside the IDT", f_outside_idt, PROTECTION, 0xf0 * 8 + 2},
    {"#GP of INT n with an empty gate", f_empty_gate, PROTECTION, 0x40 * 8 + 2},
    {"#GP of JMP to the null selector", f_null_jump, PROTECTION, 0},
    {"#GP of JMP to ring 3", f_user_code_jump, PROTECTION, USER_CODE & ~3},
};

void test_faults(void)
{
    for (u32 i = 0; i < COUNT(faults); i++) {
        try(faults[i].function);
        check_part(faults[i].name, "vector", last_fault.vector, faults[i].vector);
        if (faults[i].error >= 0)
            check_part(faults[i].name, "error code", last_fault.error, (u32)faults[i].error);
    }
    try(f_undefined);
    check("EIP of a fault is at the instruction", last_fault.eip == (u32)f_undefined, 1);
    try(f_breakpoint);
    check("EIP of a trap is behind it", last_fault.eip == (u32)f_breakpoint + 1, 1);
    irq_on();
    try(f_undefined);
    check("an exception pushes EFLAGS with IF", last_fault.flags / FLAG_IF & 1, 1);
    set_ts();
    try(f_no_fpu);
    clear_ts();
    check("#NM of FNOP with TS set: vector", last_fault.vector, NO_FPU);
    irq_on();
}
