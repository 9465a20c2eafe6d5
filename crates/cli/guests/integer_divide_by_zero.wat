;; An integer division by zero.
(module $integer_divide_by_zero
  (func $divide (param i32 i32) (result i32)
    (i32.div_u (local.get 0) (local.get 1)))
  (func $_start (export "_start")
    (drop (call $divide (i32.const 42) (i32.const 0)))))
