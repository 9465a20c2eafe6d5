;; A table may have a number of elements that is a good deal less than its indices reach: beyond it,
;; growth fails, and takes neither time nor room.
(module $table_growth_is_limited
  (import "host" "print_i32" (func $print (param i32)))
  (table $t 1 funcref)
  (func $_start (export "_start")
    (call $print (table.grow $t (ref.null func) (i32.const 0x7fff_ffff)))
    (call $print (table.grow $t (ref.null func) (i32.const 1000)))
    (call $print (table.size $t))))
