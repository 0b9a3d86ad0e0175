// Package e2e holds the test that is true from the URL of an image to a guest that has booted: the RPCs and the Omni
// adapter on simulated NASes whose machines are QEMU processes.
//
//	make e2e             # all of it
//	make e2e E2E=short   # a tour of two guests, hardware settings, and a boot from the network, for CI
//
// It runs only with the build tag e2e, since it needs QEMU and the test guest, which make installs and builds. It prints
// what happens when, and at the end how long each guest took from the request to its first word.
package e2e
