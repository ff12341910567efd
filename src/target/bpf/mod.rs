//! Small programs that the kernel runs in the context of another thread (bpf(2)): how they are
//! written ([`assembler`]), handed to the kernel ([`kernel`]), and heard from ([`ring`]).

pub mod assembler;
pub mod kernel;
pub mod ring;
