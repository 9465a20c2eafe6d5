;; A trap below a call whose arguments don't fit into registers: the frames are
;; found by their records, whatever lies between them.
(module $many_arguments
  (func $last (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.div_s (local.get 0) (local.get 14)))
  (func $middle (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.add
      (i64.const 1)
      (call $last
        (local.get 14) (local.get 13) (local.get 12) (local.get 11) (local.get 10)
        (local.get 9) (local.get 8) (local.get 7) (local.get 6) (local.get 5)
        (local.get 4) (local.get 3) (local.get 2) (local.get 1) (local.get 0))))
  (func $_start (export "_start")
    (drop
      (call $middle
        (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
        (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9)
        (i64.const 10) (i64.const 11) (i64.const 12) (i64.const 13) (i64.const 14)))))
