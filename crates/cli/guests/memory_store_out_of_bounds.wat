;; A store past the end of a memory that has grown: the size in the report is
;; the one at the time of the fault.
(module $memory_store_out_of_bounds
  (memory 1 4)
  (func $store (param i32 i64)
    (i64.store offset=8 (local.get 0) (local.get 1)))
  (func $_start (export "_start")
    (drop (memory.grow (i32.const 1)))
    (call $store (i32.const 0x20000) (i64.const -1))))
