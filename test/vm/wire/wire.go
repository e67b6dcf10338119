// SPDX-License-Identifier: Apache-2.0

// Package wire is what the harness and the program that runs in the guest say
// to each other: JSON values one after the other, over the second serial port.
//
// A guest says [Message.Hello] with the nonce it was booted with, answers each
// request by output and one [Exit], and says [Message.Bye] before it powers
// off. A guest that ends without the words expected of it has failed.
package wire

// Nonce is the kernel parameter that carries this boot's nonce.
const Nonce = "ovl_vm.nonce"

// ProgramPath is where test/vm/guest lies in the guest.
const ProgramPath = "/vm/guest"

// ConfigPath is where the guest finds its [Config].
const ConfigPath = "/vm/config.json"

// ScratchSerial is the serial number of the disk that the guest mounts on
// ScratchDir.
const (
	ScratchSerial = "scratch"
	ScratchDir    = "/scratch"
)

// Config tells the guest how to set itself up.
type Config struct {
	// Modules are the paths of the kernel modules to load, in order.
	Modules []string
	// Env is the environment of the commands it runs.
	Env []string
	// Scratch says that there is a scratch disk.
	Scratch bool
}

// Request is what the harness asks for.
type Request struct {
	ID int
	// Command is run; its output and end carry the request's ID.
	Command *Command `json:",omitempty"`
	// Signal is sent to the process group of the command with this ID.
	Signal int `json:",omitempty"`
	// Shutdown asks the guest to say bye and power off.
	Shutdown bool `json:",omitempty"`
}

// Command is a program to run in the guest.
type Command struct {
	Args  []string
	Dir   string   `json:",omitempty"`
	Env   []string `json:",omitempty"`
	Stdin []byte   `json:",omitempty"`
}

// Message is what the guest says. Output and Exit belong to the request ID.
type Message struct {
	Hello  *Hello `json:",omitempty"`
	ID     int    `json:",omitempty"`
	Stdout []byte `json:",omitempty"`
	Stderr []byte `json:",omitempty"`
	Exit   *Exit  `json:",omitempty"`
	Bye    bool   `json:",omitempty"`
}

// Hello says that the guest is ready.
type Hello struct {
	Nonce   string
	Release string
}

// Exit is how a command ended: by Error it never started, by Signal, or with
// Code.
type Exit struct {
	Code   int
	Signal string `json:",omitempty"`
	Error  string `json:",omitempty"`
}
