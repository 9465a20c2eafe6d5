;; `table.init` from an element segment that was dropped.
(module $table_init_out_of_bounds
  (table 10 funcref)
  (elem $functions func $nothing)
  (func $nothing)
  (func $init
    (table.init $functions (i32.const 0) (i32.const 0) (i32.const 1)))
  (func $_start (export "_start")
    (elem.drop $functions)
    (call $init)))
