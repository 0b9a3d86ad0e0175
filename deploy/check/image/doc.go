// Package image holds nothing but tests of the container image, without a container engine and without a base image: the steps of
// the Dockerfile's first stage are run on this machine, in a folder that holds no more than the Dockerfile copies; the last stage,
// which is made from nothing, is built by buildah; and the programs are started from what comes out as VirtRigaud's manager starts
// them: as user 65532, without capabilities, on a read-only root, with the Secrets mounted, in 512 MiB of memory.
//
// That takes root, buildah, and a kernel that lets root make namespaces and memory control groups. What is missing fails the tests.
package image
