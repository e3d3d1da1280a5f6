from kfp_bert_components.cli import main

main()
