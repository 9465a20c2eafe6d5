;; No trap at all: the results are printed, one a line.
(module $no_trap
  (func $main (export "main") (result i32 i64 f32 f64 v128 funcref externref)
    (i32.const -1)
    (i64.const 0x1_0000_0000)
    (f32.const 0.1)
    (f64.const nan:0x8000000000001)
    (v128.const i32x4 0x01234567 0x89abcdef 2 3)
    (ref.null func)
    (ref.null extern)))
