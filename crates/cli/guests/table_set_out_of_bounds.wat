;; `table.set` past the end of a table of host references.
(module $table_set_out_of_bounds
  (table 10 externref)
  (func $set (param i32)
    (table.set (local.get 0) (ref.null extern)))
  (func $_start (export "_start")
    (call $set (i32.const 11))))
