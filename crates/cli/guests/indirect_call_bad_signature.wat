;; `call_indirect` of a function that has another type.
(module $indirect_call_bad_signature
  (table funcref (elem $square))
  (func $square (param i32) (result i32)
    (i32.mul (local.get 0) (local.get 0)))
  (func $dispatch (param i32)
    (call_indirect (param i64) (i64.const 3) (local.get 0)))
  (func $_start (export "_start")
    (call $dispatch (i32.const 0))))
