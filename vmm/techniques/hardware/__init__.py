"""Hardware assistance: VT-x and AMD-V as the engine's SVM intercepts model them.

`technique.py` is where to begin. `vmcb.py` is the control block's layout, `control_block.py` what a user
reads and edits of it, `exit_information.py` what each exit tells; `nested_paging.py` and `shadow_paging.py`
are the two ways of paging.
"""
