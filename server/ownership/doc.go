// Package ownership decides which objects on the NAS belong to this provider.
//
// [Claims] are about trees of datasets: the root of the tree on each pool records the installation that uses it, and a provider
// of another installation changes nothing there ([ErrForeign]). [Marks] are about VMs and their datasets: a VM is this
// provider's when its UUID is derived from the provider's id and the VM lies in the provider's tree.
//
// Both use earlier readings if possible. Methods that take a context may call the NAS; the others never do.
package ownership
