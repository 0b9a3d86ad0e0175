// Package providerv1 is the wire contract between the VirtRigaud manager and a provider, generated from
// provider/v1/provider.proto of this module.
//
// It replaces upstream's package of the same import path: the same package, messages, field numbers and RPCs, with
// texts of our own. A program that links both at once fails at its start, since both register the same file.
package providerv1
