;; What is called, one function for each path. The functions that only fill the side tables
;; are added to it, before the last parenthesis: see `guest.rs`.
(module $guest
  (import "host" "nothing" (func $nothing))
  (import "host" "fail" (func $fail))
  (import "host" "capture" (func $capture))

  (memory 1)

  (func (export "empty"))

  (func (export "call_host")
    (call $nothing))

  (func (export "fail")
    (call $fail))

  (func (export "unreachable")
    (unreachable))

  ;; Calls itself until `depth` frames are on the stack, then the host captures them.
  (func $capture_at (export "capture_at") (param $depth i32)
    (if (i32.eq (local.get $depth) (i32.const 1))
      (then (call $capture))
      (else (call $capture_at (i32.sub (local.get $depth) (i32.const 1))))))
)
