;; A host function that fails in the start function.
(module $host_error_in_start
  (import "host" "fail" (func $fail (param i32)))
  (func $initialise
    (call $fail (i32.const 1)))
  (start $initialise)
  (func $_start (export "_start")))
