;; guest -> host -> guest -> host -> guest, and a trap at the end: the report
;; lists the frames of all three entries, each once, innermost first.
(module $host_calls_back
  (import "host" "print_i32" (func $print (param i32)))
  (import "host" "call_back" (func $call_back (param funcref)))
  (elem declare func $outer_work $inner_work)
  (func $inner_work
    (call $print (i32.const 2))
    unreachable)
  (func $outer_work
    (call $print (i32.const 1))
    (call $call_back (ref.func $inner_work)))
  (func $_start (export "_start")
    (call $print (i32.const 0))
    (call $call_back (ref.func $outer_work))))
