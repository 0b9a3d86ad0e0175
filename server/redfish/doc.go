// Package redfish serves the VMs of a provider as servers with a BMC: a Redfish service in front of the provider.v1 contract.
//
// A [Service] is an http.Handler. It calls a provider through [providerv1.ProviderClient] and knows nothing else of it, so that
// it works in front of any provider of the contract:
//
//	service, err := redfish.New(redfish.Config{Provider: client, Accounts: file, Logger: log})
//	err = redfish.Serve(ctx, redfish.Listener{Address: ":8443", TLSDir: dir}, service)
//
// Each VM is a ComputerSystem with a Manager and a Chassis of its own; their id is that of the VM in the contract. What the
// contract has no field for, the source of the next boot and virtual media, travels as settings of Reconfigure, and only to a
// provider that lists them among its extensions. Any other gets ActionNotSupported or PropertyNotWritable.
//
// Sessions live in memory: a restart ends them, and replicas do not share them. Accounts come from a file, with bcrypt hashes.
package redfish
