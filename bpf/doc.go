// SPDX-License-Identifier: Apache-2.0

// Package bpf is the relay's kernel path: an XDP program that carries UDP
// between a TURN client's channel and its peer, the maps through which user
// space tells it what to do, and what it tells back.
//
// A Router loads the program, tests it and attaches it. Maps is typed access to
// the maps, of a Router or of pins that another process left. Nothing here
// decides what ought to be in a map, and nothing caches what is: every Read
// asks the kernel, every Write writes, even if nothing seems to have changed.
//
// Each map has one writer. Values are laid out as maps.h says; that both sides
// agree is tested through the object's BTF. README.md tells how the router
// decides.
//
// The objects are committed, so neither building nor testing needs clang.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types router router.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -fno-strict-aliasing -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
