;; One function for each operation whose instructions are counted.
(module $counts
  (import "host" "nothing" (func $nothing))
  (import "host" "fail" (func $fail))
  (import "host" "capture" (func $capture))
  (import "host" "again" (func $again (param i32 i32)))

  (memory 1)

  (func (export "empty"))

  (func (export "call_host") (call $nothing))

  (func (export "fail") (call $fail))

  (func (export "unreachable") (unreachable))

  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))

  ;; Calls itself until `depth` frames are on the stack; then the host captures backtraces.
  (func $capture_at (export "capture_at") (param $depth i32)
    (if (i32.eq (local.get $depth) (i32.const 1))
      (then (call $capture))
      (else (call $capture_at (i32.sub (local.get $depth) (i32.const 1))))))

  ;; One frame of guest, one of host, and so on, `levels` times; then returns or fails in the host.
  (func (export "nest") (param $levels i32) (param $fails i32)
    (if (i32.ne (local.get $levels) (i32.const 1))
      (then (call $again (i32.sub (local.get $levels) (i32.const 1)) (local.get $fails)))
      (else (if (local.get $fails) (then (call $fail)))))))
