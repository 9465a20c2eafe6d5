;; All memories together may have two pages: a third one is refused.
(module $memory_growth_is_limited
  (import "host" "print_i32" (func $print (param i32)))
  (memory 1)
  (memory $other 0)
  (func $_start (export "_start")
    (call $print (memory.grow (i32.const 2)))
    (call $print (memory.grow (i32.const 1)))
    (call $print (memory.grow $other (i32.const 1)))
    (call $print (memory.grow $other (i32.const 0)))))
