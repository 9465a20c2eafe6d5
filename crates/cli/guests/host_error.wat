;; An error raised by a host function, called from three guest frames.
(module $host_error
  (import "host" "fail" (func $fail (param i32)))
  (func $ask (param i32)
    (call $fail (local.get 0)))
  (func $prepare (param i32)
    (call $ask (i32.mul (local.get 0) (i32.const 6))))
  (func $_start (export "_start")
    (call $prepare (i32.const 7))))
