// Package soak holds nothing but a test: a seeded random workload from both control planes on one simulated NAS, with random
// faults. What it does and in which order comes from the seed alone; when it does it, concurrency decides.
//
//	go test ./cmd/internal/soak -v -seed 7 -duration 10m
package soak
