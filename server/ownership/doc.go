// Package ownership decides what on the NAS belongs to this provider.
//
// [Claims] are about trees of datasets: the root of the tree on each pool records which installation uses it, and a provider of
// another installation changes nothing there ([ErrForeign]). [Marks] are about VMs and their datasets: a VM is this provider's
// when its UUID is derived from the provider's id and the VM lies in the provider's tree.
//
// Both answer from what was read before where they can. Methods that take a context may ask the NAS; the others never do.
package ownership
