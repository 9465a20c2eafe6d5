;; An active element segment that does not fit: the instantiation traps.
(module $element_segment_out_of_bounds
  (table 1 funcref)
  (elem (i32.const 1) func $nothing)
  (func $nothing (export "_start")))
