//! Nothing but tests: the same modules run by trapline and by the Wasmtime
//! runtime. See the README.
