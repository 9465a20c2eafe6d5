;; No trap: a backtrace captured in a host call, while the guest goes on.
(module $print_backtrace
  (import "host" "print_i32" (func $print (param i32)))
  (import "host" "print_backtrace" (func $print_backtrace))
  (func $inner
    (call $print_backtrace))
  (func $outer
    (call $inner))
  (func $_start (export "_start")
    (call $outer)
    (call $print (i32.const 1))))
