;; `table.get` with a 64-bit index whose lower half would be in bounds.
(module $table64_out_of_bounds
  (table i64 10 funcref)
  (func $get (param i64) (result funcref)
    (table.get (local.get 0)))
  (func $_start (export "_start")
    (drop (call $get (i64.const 0x1_0000_0001)))))
