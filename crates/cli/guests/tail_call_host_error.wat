;; A tail call to a host function that fails: no frame is invented for it.
(module $tail_call_host_error
  (import "host" "fail" (func $fail (param i32)))
  (func $delegate (param i32)
    (return_call $fail (local.get 0)))
  (func $_start (export "_start")
    (call $delegate (i32.const 3))))
