// Package image contains only tests of the container image, without a container engine and without a base image: the tests run
// the steps of the Dockerfile's first stage on this machine, in a folder with only the files that the Dockerfile copies;
// buildah builds the last stage, which starts from scratch; and the tests start the resulting programs like VirtRigaud's
// manager: as user 65532, without capabilities, on a read-only root, with the Secrets mounted, in 512 MiB of memory.
//
// The tests need root, buildah, and a kernel that lets root make namespaces and memory control groups. They fail if a
// requirement is missing.
package image
