;; The guest of the README: a small program that adds up the entries of a list
;; in linear memory. Its list has a broken link, so that it ends, several calls
;; deep, in a load past the end of the memory.
;;
;;   trapline run crates/cli/guests/demo.wat
(module $demo
  (import "host" "print_i32" (func $print (param i32)))
  (memory 1)
  ;; Nodes of a linked list: value, address of the next node (0 ends it).
  (data (i32.const 0x10) "\07\00\00\00\20\00\00\00") ;; 7, then 0x20
  (data (i32.const 0x20) "\0b\00\00\00\30\00\00\00") ;; 11, then 0x30
  (data (i32.const 0x30) "\17\00\00\00\f0\ff\12\00") ;; 23, then 0x12fff0: broken

  (func $node_value (param $node i32) (result i32)
    (i32.load (local.get $node)))

  (func $node_next (param $node i32) (result i32)
    (i32.load offset=4 (local.get $node)))

  (func $sum_list (param $node i32) (param $sum i32) (result i32)
    (if (i32.eqz (local.get $node))
      (then (return (local.get $sum))))
    (local.set $sum
      (i32.add (local.get $sum) (call $node_value (local.get $node))))
    (call $print (local.get $sum))
    (call $sum_list (call $node_next (local.get $node)) (local.get $sum)))

  (func $report (param $list i32)
    (call $print (call $sum_list (local.get $list) (i32.const 0))))

  (func $_start (export "_start")
    (call $report (i32.const 0x10))))
