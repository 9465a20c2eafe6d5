;; A trap in a function reached by tail calls: the frames that were replaced
;; are gone, the one that called normally is there.
(module $tail_call
  (func $last (param i32)
    unreachable)
  (func $middle (param i32)
    (return_call $last (i32.add (local.get 0) (i32.const 1))))
  (func $first (param i32)
    (return_call $middle (i32.add (local.get 0) (i32.const 1))))
  (func $_start (export "_start")
    (call $first (i32.const 0))))
