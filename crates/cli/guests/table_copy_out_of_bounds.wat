;; `table.copy` of one element more than there are.
(module $table_copy_out_of_bounds
  (table 10 funcref)
  (func $copy (param $length i32)
    (table.copy (i32.const 0) (i32.const 5) (local.get $length)))
  (func $_start (export "_start")
    (call $copy (i32.const 6))))
