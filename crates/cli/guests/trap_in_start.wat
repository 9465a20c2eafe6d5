;; A trap in the start function: the instantiation fails.
(module $trap_in_start
  (import "host" "print_i32" (func $print (param i32)))
  (func $prepare
    (call $print (i32.const 1))
    unreachable)
  (func $initialise
    (call $prepare))
  (start $initialise)
  (func $_start (export "_start")
    (call $print (i32.const 2))))
