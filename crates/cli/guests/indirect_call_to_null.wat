;; `call_indirect` of an element that was never set.
(module $indirect_call_to_null
  (table 2 funcref)
  (func $dispatch (param i32)
    (call_indirect (local.get 0)))
  (func $_start (export "_start")
    (call $dispatch (i32.const 1))))
