;; A panic in a host function: it unwinds through the guest and ends the
;; program as a panic does, with status 101.
(module $host_panic
  (import "host" "panic" (func $panic (param i32)))
  (func $ask (param i32)
    (call $panic (local.get 0)))
  (func $_start (export "_start")
    (call $ask (i32.const 5))))
