;; An error of a host function that passes through two entries into the guest.
(module $host_error_in_call_back
  (import "host" "fail" (func $fail (param i32)))
  (import "host" "call_back" (func $call_back (param funcref)))
  (elem declare func $work)
  (func $work
    (call $fail (i32.const 9)))
  (func $_start (export "_start")
    (call $call_back (ref.func $work))))
