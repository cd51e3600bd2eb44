//! Holds no code. The programs that must not compile are in `tests/cases`.
