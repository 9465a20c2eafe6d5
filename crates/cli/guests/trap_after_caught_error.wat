;; The host tries a guest function that traps, and goes on; the guest then
;; traps on its own. The report is of the second trap only.
(module $trap_after_caught_error
  (import "host" "print_i32" (func $print (param i32)))
  (import "host" "try_call" (func $try_call (param funcref) (result i32)))
  (elem declare func $divide)
  (func $divide
    (drop (i32.div_u (i32.const 1) (i32.const 0))))
  (func $_start (export "_start")
    (call $print (call $try_call (ref.func $divide)))
    unreachable))
