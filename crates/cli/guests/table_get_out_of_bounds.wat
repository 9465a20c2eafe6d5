;; `table.get` past the end of the table.
(module $table_get_out_of_bounds
  (table 10 funcref)
  (func $get (param i32) (result funcref)
    (table.get (local.get 0)))
  (func $_start (export "_start")
    (drop (call $get (i32.const 10)))))
