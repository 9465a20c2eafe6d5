// "Compiled code" for the tests: trampolines and functions that keep to the
// rules of Cranelift-compiled code (frame records, the words of the store), for
// each instruction set the same ones in the same order. These are their names.
//
// A guest program is a list of words. Each guest function gets the store's
// words as its first argument and the rest of the program as its second, takes
// the function to call next from the front of the program, and calls it with
// what is left.

    // Seen by all object files of the test binary.
    .globl fake_guest_start
    .hidden fake_guest_start
    .globl fake_guest_enter
    .hidden fake_guest_enter
    .globl fake_guest_frame
    .hidden fake_guest_frame
    .globl fake_guest_frame_return
    .hidden fake_guest_frame_return
    .globl fake_guest_tail
    .hidden fake_guest_tail
    .globl fake_guest_nothing
    .hidden fake_guest_nothing
    .globl fake_guest_host_then
    .hidden fake_guest_host_then
    .globl fake_guest_host_then_return
    .hidden fake_guest_host_then_return
    .globl fake_guest_host_then_return_2
    .hidden fake_guest_host_then_return_2
    .globl fake_guest_exit
    .hidden fake_guest_exit
    .globl fake_guest_exit_guest_fp
    .hidden fake_guest_exit_guest_fp
    .globl fake_guest_trap
    .hidden fake_guest_trap
    .globl fake_guest_trap_site
    .hidden fake_guest_trap_site
    .globl fake_fiber_start
    .hidden fake_fiber_start
    .globl fake_guest_end
    .hidden fake_guest_end

// Address sanitizer's functions that have to hear of a change of stacks, or null where there are none.
    .weak __sanitizer_start_switch_fiber
    .weak __sanitizer_finish_switch_fiber
    .globl fake_fiber_start_switch
    .hidden fake_fiber_start_switch
    .globl fake_fiber_finish_switch
    .hidden fake_fiber_finish_switch
    .data
    .p2align 3
fake_fiber_start_switch:
    .8byte __sanitizer_start_switch_fiber
fake_fiber_finish_switch:
    .8byte __sanitizer_finish_switch_fiber
