// Package redfish serves the VMs of a provider as servers with a BMC: a Redfish service in front of the provider.v1 contract.
//
// A [Service] is an http.Handler. It calls a provider only through [providerv1.ProviderClient], so that it works in front of
// any provider of the contract:
//
//	service, err := redfish.New(redfish.Config{Provider: client, Accounts: file, Logger: log})
//	err = redfish.Serve(ctx, redfish.Listener{Address: ":8443", TLSDir: dir}, service)
//
// Each VM is a ComputerSystem with a Manager and a Chassis of its own; all have the VM's id in the contract. The contract has
// no fields for the source of the next boot and for virtual media, so the service sends them as settings of Reconfigure, and
// only to a provider that lists them among its extensions. With any other, clients get ActionNotSupported or
// PropertyNotWritable.
//
// Sessions are in memory: a restart ends them, and replicas do not share them. Accounts come from a file, with bcrypt hashes.
package redfish
