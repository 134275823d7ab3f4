"""Adapters as files that other tools read and write, and theirs as files that are scored here.

facts        what a file says about itself: run, base, trigger, prompts, scores, licences, in the safetensors header
files        reading and writing safetensors, and which format a file or folder has
changes      LoRA, LoHa and LoKr as changes of one weight; taken from a network, and from any merged one of low rank
names        which layer of a base a name of kohya-ss, LyCORIS or diffusers means
foreign      files of those tools as changes, and changes as their files
peft_files   checkpoints of Hugging Face's peft, for every tuner that is a method here
saved        Litmus's own file: what a run trained, and the network that it belongs to
adapters     any of these on a base; what does not fit is refused
pipelines    the merged result as a whole pipeline of diffusers
scoring      any of these scored on a task

Nothing here unpickles. Importing this loads no torch.
"""
