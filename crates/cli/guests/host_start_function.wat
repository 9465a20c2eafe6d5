;; The start function is itself a host function, and fails: no guest frame.
(module $host_start_function
  (import "host" "fail_now" (func $fail_now))
  (start $fail_now)
  (func $_start (export "_start")))
