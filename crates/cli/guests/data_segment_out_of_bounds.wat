;; An active data segment that does not fit: the instantiation traps.
(module $data_segment_out_of_bounds
  (memory 1)
  (data (i32.const 0xffff) "ab")
  (func $_start (export "_start")))
