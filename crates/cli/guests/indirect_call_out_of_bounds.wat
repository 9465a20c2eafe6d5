;; `call_indirect` of an element past the end of the table.
(module $indirect_call_out_of_bounds
  (table 2 funcref)
  (func $dispatch (param i32)
    (call_indirect (local.get 0)))
  (func $_start (export "_start")
    (call $dispatch (i32.const 2))))
